from ift.cli.main import main

main()
