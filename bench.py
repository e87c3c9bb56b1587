from bench.cli import main

if __name__ == "__main__":  # decoding starts processes that import this file
    main()
