from ift.cli import main

main()
