"""Prints recommendations for a user: `python quick_start.py anna`, against `groundswell up`."""

import sys

from groundswell.client import GroundswellClient, Targets

user, *addresses = sys.argv[1:]
with GroundswellClient(Targets(*addresses)) as client:
    for found in client.recommend(user, page_size=5).recommendations:
        print(f"{found.score:6.2f}  {found.title}")
