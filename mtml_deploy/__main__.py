"""`python -m mtml_deploy` is `mtml-deploy`, for a shell that does not find the command."""

from mtml_deploy.cli.main import main

if __name__ == "__main__":
    main(prog_name="mtml-deploy")
