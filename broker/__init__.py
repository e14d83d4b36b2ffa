"""The wire: subjects, messages, codec, streams, connection, private server, clock, errors. Imports nothing of ours."""
