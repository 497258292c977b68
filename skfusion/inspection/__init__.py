"""What a fitted model relies on: modalities, features inside one, regions of images.

Read next: `skfusion.inspection.saliency`.
"""
