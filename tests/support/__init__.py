"""What tests share: waiting, commands in this process, real node processes."""
