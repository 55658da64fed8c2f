"""Where MediaPipe's landmarks lie on a head, and how MediaPipe misses them: learned from renders of the head alone."""
