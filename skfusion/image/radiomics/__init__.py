"""Radiomics features of an image column: `RadiomicsEncoder`."""
