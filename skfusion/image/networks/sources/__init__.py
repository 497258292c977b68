"""Sources of networks: packages, catalogues, hubs and files of weights."""
