"""Early, late and joint fusion estimators. Read next: `skfusion.fusion.base`."""
