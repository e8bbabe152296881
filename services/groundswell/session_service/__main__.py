"""`python -m groundswell.session_service`: reads the settings and runs the service."""

from groundswell.serving.server import run
from groundswell.serving.settings import load_settings
from groundswell.session_service.process import main
from groundswell.session_service.settings import SessionSettings

if __name__ == "__main__":
    run(main(load_settings(SessionSettings)))
