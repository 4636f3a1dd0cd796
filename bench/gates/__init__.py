"""Simulated releases with numbers of their requests, judged by Slipway's gates, by Argo Rollouts'
rule and by Kayenta's. Each module says what it keeps of reality.
"""
