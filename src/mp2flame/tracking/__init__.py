"""Parameters of a head from videos of people: Gauss-Newton on MediaPipe's landmarks with a learned error model."""
