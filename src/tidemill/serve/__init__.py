"""Phase 6, serving: packages, registry, deployments, and the server whose every answer is logged before it is sent."""
