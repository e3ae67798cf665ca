"""`python -m mtml_train` is `mtml-train`, so that torchrun can start it."""

from mtml_train.cli.train import train_main

if __name__ == "__main__":
    train_main(prog_name="mtml-train")
