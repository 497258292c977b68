"""Parameters of modalities by name: ``cxr__backbone``, in searches and in `repr`."""

from __future__ import annotations

from typing import Any

from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer

__all__ = ["ModalityParameters"]


class ModalityParameters(BaseEstimator):
    """An estimator whose `modalities` are triples, reached by the name of each."""

    modalities: Any

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters, those of each modality's transformer by its name.

        Parameters
        ----------
        deep : bool, default=True
            Whether to include nested parameters, e.g. ``cxr__backbone``.

        Returns
        -------
        dict of str to any
        """
        params = super().get_params(deep=deep)
        if deep:
            for name, transformer in self._named_transformers():
                params[name] = transformer
                nested = transformer.get_params(deep=True)
                params.update({f"{name}__{key}": nested[key] for key in nested})
        return params

    def set_params(self, **params: Any) -> ModalityParameters:
        """Set parameters; a modality's name sets its transformer.

        Parameters
        ----------
        **params : any
            Parameters by name, e.g. ``cxr__backbone="resnet18"``.

        Returns
        -------
        ModalityParameters
            The estimator itself.
        """
        if "modalities" in params:
            self.modalities = params.pop("modalities")
        own = super().get_params(deep=False)
        replaced = {
            name: params.pop(name)
            for name, _ in self._named_transformers()
            if name in params and name not in own
        }
        if replaced:
            self.modalities = [
                (name, replaced.get(name, transformer), columns)
                for name, transformer, columns in self.modalities
            ]
        super().set_params(**params)
        return self

    def _sk_visual_block_(self) -> Any:
        # Drawn like a ColumnTransformer: one column per modality, with its columns.
        triples = getattr(self, "modalities_", self.modalities)
        if isinstance(triples, str):
            raise ValueError("nothing to draw before fit")  # scikit-learn draws a box
        return ColumnTransformer(list(triples))._sk_visual_block_()

    def _named_transformers(self) -> list[tuple[str, Any]]:
        # A malformed list is reported by fit, not by get_params or repr.
        if isinstance(self.modalities, str) or not hasattr(self.modalities, "__iter__"):
            return []
        return [
            (entry[0], entry[1])
            for entry in self.modalities
            if isinstance(entry, (tuple, list))
            and len(entry) == 3
            and isinstance(entry[0], str)
            and hasattr(entry[1], "get_params")
            and not isinstance(entry[1], type)
        ]
