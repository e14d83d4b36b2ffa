"""Agents: the SDK to write one, and those that ship. An agent knows the wire and nothing else of Outrider."""

from outrider.agents.agent import Agent
from outrider.agents.build import AgentOptions, build_agent
from outrider.agents.outcome import TaskError
from outrider.agents.task import Task
from outrider.broker.states import ErrorClass

__all__ = ["Agent", "AgentOptions", "ErrorClass", "Task", "TaskError", "build_agent"]
