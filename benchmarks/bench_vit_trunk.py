"""Claim: fine-tuning the last block of a ViT in joint fusion costs its last block only."""

from __future__ import annotations

import sys

from bench_joint import measure

GOAL = 3.0
BACKBONE = {"backbone": "timm:vit_tiny_patch16_224", "weights": None}

if __name__ == "__main__":
    sys.exit(measure("vit_trunk", __doc__, (BACKBONE, "last_block"), GOAL))
