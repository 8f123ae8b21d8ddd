from pretrain.cli.main import main

main()
