"""`python -m headhunt_svc`: the command line where no script is installed, as in a Bento."""

from headhunt_svc.cli.main import main

main()
