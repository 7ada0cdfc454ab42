"""Small text-to-image models that ship with the app, and the world they are trained on.

Importing this package, or its world, captions and checks, needs neither torch nor diffusers.
"""
