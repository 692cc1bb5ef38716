"""What any long run needs and no stage owns: files, processes, memory, progress."""
