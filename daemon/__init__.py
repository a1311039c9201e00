"""The running thing: composition root, socket API, telemetry and the command line."""
