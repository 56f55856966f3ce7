"""The `headhunt` command: one file for each group of commands.

Here: options, progress, what is printed. Not here: anything that another caller would need too.
"""
