from study.cli.main import main

main()
