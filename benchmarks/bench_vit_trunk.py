"""Claim: fine-tuning the last block of a ViT in joint fusion costs that block only.

A vision transformer of timm (extra ``timm``) with random weights. The last one of its
twelve blocks and the joint head are trained for 20 epochs on images of 224 pixels. The
rival, the start and the ratio are those of ``bench_joint.py``: plain skorch runs the
frozen blocks for every image in every epoch. Both must end with the same weights. By
count of blocks a step costs 4.7 times less, and 20 epochs with one run of the frozen
blocks 3.9 times less.

Run: python benchmarks/bench_vit_trunk.py [--images 64] [--size 224] [--epochs 20]
"""

from __future__ import annotations

import sys

from bench_joint import measure

GOAL = 3.0
BACKBONE = {"backbone": "timm:vit_tiny_patch16_224", "weights": None}

if __name__ == "__main__":
    sys.exit(measure("vit_trunk", __doc__, (BACKBONE, "last_block"), GOAL))
