"""The order of turns: who speaks at which iteration, and when everybody is surveyed.

Pure functions of numbers; they know no agents, prompts or engines. Source: protocol.md, debates.
"""


def speaker(iteration: int, first: int, speakers: int) -> int:
    """Index of the agent that makes reply number `iteration` (from 1), in round-robin from agent `first`."""
    return (first + iteration - 1) % speakers


def iterations(rounds: int, speakers: int) -> int:
    """Replies in a whole debate."""
    return rounds * speakers


def surveys(rounds: int, speakers: int) -> range:
    """Iterations at which every agent is surveyed: 0, and the end of each round."""
    return range(0, iterations(rounds, speakers) + 1, speakers)
