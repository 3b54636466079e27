"""The paper on its own ground: its twelve models at full size, and Adam that runs to its end.

``python -m paper.ground`` trains the models, each in a process of its own, and measures them there
and then: a trajectory of a hundred full-size networks stays in the memory of its process.
"""
