"""The pages: for people, drawn here on the server, working without a script, a build step or another host."""
