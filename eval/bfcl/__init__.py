"""The Berkeley function-calling data: its rows, the leaderboard's matching, and answers to try that with."""
