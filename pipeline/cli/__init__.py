"""The nocturne command: options, exit codes, and one function per command."""
