"""The agent SDK and the agents that ship."""
