"""The wire: subjects, messages, codec, streams, connection, private server. Imports nothing of ours."""
