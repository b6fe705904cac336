"""How results look: ``show`` prints any of them, ``page`` writes one offline page, ``export`` files for other programs.

No torch. Nothing is imported here: what only prints does not load the charts.
"""
