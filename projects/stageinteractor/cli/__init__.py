"""The commands of ``stageinteractor``; each module has the ``main`` of one command."""
