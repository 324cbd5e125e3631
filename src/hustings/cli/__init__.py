"""The command line: the three jobs (`entry`, `jobs`) and the `hustings` command (`commands`).

It does not know how anything is computed; it validates, calls the library, and prints.
"""
