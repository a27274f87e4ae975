"""How nodes come to the same state: what is sent to whom, and what happens to what arrives.

Pure. `delta` is the strategy of a cluster: anti-entropy (`anti_entropy`) for certainty, and a push of every write
(`push`) for speed. Either alone brings all nodes together; a lost push leaves a gap that the next exchange fills.
`full_state` is the original protocol instead: each tick sends the whole state. Both take in rows by `intake`, cut
deltas by `deltas`, and close differences between equal versions by `repair`.

Sources: push-pull anti-entropy and rumor mongering, Demers et al., "Epidemic algorithms for replicated database
maintenance", PODC 1987, sections 1.3 and 1.4; digests and deltas by version, van Renesse et al., "Efficient
reconciliation and flow control for anti-entropy protocols", LADIS 2008, section 3.
"""
