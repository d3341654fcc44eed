"""How a process uses the CPU: threads, float32 products, memory pages.

Commands choose at their start; importing the library changes nothing.
"""
