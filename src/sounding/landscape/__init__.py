"""Loss landscapes: stationary points and escape from them, surfaces, paths between solutions."""
