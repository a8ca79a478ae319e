"""Choice of an algorithm: candidates, baselines, leaderboards."""
