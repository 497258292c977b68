"""The classes and functions that a model file may name, fixed in this package.

Each was read with the question what happens if a file names it with other attributes
than a fit gives: objects are made without calling their class, and functions are looked
up and not called. Trees of scikit-learn are not listed, because it follows the indices
in them without a check, so that a file can end the process. Estimators and functions of
scikit-learn and ufuncs of numpy that skops trusts need no entry.
"""

from __future__ import annotations

__all__ = ["MOVED", "TRUSTED"]

_SKFUSION = {
    "skfusion._fitting.patient_meta_estimators": (
        "PatientCalibratedClassifierCV PatientRidgeCV PatientStackingClassifier "
        "PatientStackingRegressor"
    ),
    "skfusion._fitting.passthrough": "Passthrough",
    "skfusion._fitting.patient_folds": "GivenFolds PatientFolds RoutedFolds",
    "skfusion.blocks": "ModalityBlocks",
    "skfusion.ehr": (
        "ComorbidityEncoder Demographics EventGrid EventNotes EventWindows "
        "ObservedScaler TabularEncoder"
    ),
    "skfusion.ehr.codes.code_map": "IcdGroups _Conditions _Lookup _Truncation",
    "skfusion.ehr.point_in_time.cases": "Seen",
    "skfusion.ehr.point_in_time.visibility": "Sight Windows",
    "skfusion.ehr.tabular.columns": "MultiLabelColumn TextColumn",
    "skfusion.ehr.tabular.understanding": "Understood",
    "skfusion.ehr.tabular.words": "Vocabulary",
    "skfusion.ehr.windows.plan": "Feature FeaturePlan",
    "skfusion.ehr.windows.prepared": "Preparation",
    "skfusion.feature_selection": "GeneticSelector GiniSelector MRMRSelector",
    "skfusion.fusion": (
        "EarlyFusionClassifier EarlyFusionRegressor GRUDEncoder ImageAugmentation "
        "JointFusionClassifier JointFusionRegressor LateFusionClassifier "
        "LateFusionRegressor ModelFeatures SequenceTransformer TorchEncoder "
        "TrainingSettings"
    ),
    "skfusion.fusion.early.block_scaling": "Balance",
    "skfusion.fusion.early.gated_unit": "GatedUnit _Standardised",
    "skfusion.fusion.early.joins": "Concatenation Pool",
    "skfusion.fusion.early.named_features": "FeatureNames",
    "skfusion.fusion.early_stopping": "EarlyStopping Evaluation",
    "skfusion.fusion.inner_estimators": "BlockScaler",
    "skfusion.fusion.joint.bags": "GatedAttention",
    "skfusion.fusion.joint.inputs": (
        "BagInput BlockInput ImageInput ModuleInput VectorInput"
    ),
    "skfusion.fusion.joint.joins": (
        "Attention Concatenation FeatureModulation Gated Gradual LowRank Sum _Group"
    ),
    "skfusion.fusion.joint.network": (
        "AttentionEncoder DirectEncoder JointNetwork ModalityEncoder Standardize"
    ),
    "skfusion.fusion.late.aggregation": "RankTable",
    "skfusion.fusion.late.calibration": "Calibrator _on_sigmoid",
    "skfusion.fusion.late.combination": "Combination",
    "skfusion.fusion.late.estimators": "RiskScale",
    "skfusion.fusion.late.weights": "_Numbers _Probabilities",
    "skfusion.fusion.per_output": "ClassifierPerLabel RegressorPerNumber",
    "skfusion.fusion.selection.univariate": "TargetSelector",
    "skfusion.fusion.survival": (
        "CoxRidge SurvivalCurves SurvivalFunction SurvivalTimes"
    ),
    "skfusion.fusion.targets": "Classes Labels Numbers",
    "skfusion.image": (
        "ImageEmbedder Preprocessing RadiomicsEncoder VolumePreprocessing"
    ),
    "skfusion.image.networks": "Backbone",
    "skfusion.image.networks.outputs": "Entry Pooled",
    "skfusion.image.networks.sources.efficientnet_lite": "_Block",
    "skfusion.modality": "Modality",
    "skfusion.persistence.learners": "LightGBMBooster XGBoostBooster",
    "skfusion.persistence.networks": (
        "CarriedWeights Network NetworkTensor TorchValue TrainedTail"
    ),
    "skfusion.persistence.stand_ins": (
        "BoundMethod Cells Column EnumMember Frozen Instance Labels Masked Moment "
        "NumberType Pairs Plain Scalar Sparse State Table"
    ),
    "skfusion.persistence.stores": "EmbeddingsReference FolderReference",
    "skfusion.survival": (
        "EarlyFusionSurvival JointFusionSurvival LateFusionSurvival XGBoostSurvival"
    ),
    "skfusion.text": "TextEmbedder",
    "skfusion.vectors": "VectorColumns",
}
_LEARNERS = {
    "builtins": "dict list slice",
    "collections": "OrderedDict defaultdict",
    "datetime": "date datetime time timedelta timezone",
    "decimal": "Decimal",
    "functools": "partial",
    "lightgbm.sklearn": "LGBMClassifier LGBMRegressor _LGBMLabelEncoder",
    "numpy": "mean median",
    "sklearn.calibration": "_CalibratedClassifier _SigmoidCalibration",
    "sklearn.feature_selection._mutual_info": (
        "mutual_info_classif mutual_info_regression"
    ),
    "sklearn.feature_selection._univariate_selection": (
        "chi2 f_classif f_oneway f_regression r_regression"
    ),
    "sklearn.gaussian_process._gpc": "_BinaryGaussianProcessClassifierLaplace",
    "sklearn.gaussian_process.kernels": (
        "CompoundKernel ConstantKernel DotProduct ExpSineSquared Exponentiation "
        "Hyperparameter Matern PairwiseKernel Product RBF RationalQuadratic Sum "
        "WhiteKernel"
    ),
    "sklearn.isotonic": "IsotonicRegression",
    "sklearn.metrics._classification": (
        "accuracy_score balanced_accuracy_score brier_score_loss "
        "class_likelihood_ratios cohen_kappa_score confusion_matrix d2_brier_score "
        "d2_log_loss_score f1_score fbeta_score hamming_loss hinge_loss "
        "jaccard_score log_loss matthews_corrcoef multilabel_confusion_matrix "
        "precision_recall_fscore_support precision_score recall_score zero_one_loss"
    ),
    "sklearn.metrics._ranking": (
        "auc average_precision_score confusion_matrix_at_thresholds coverage_error "
        "dcg_score det_curve label_ranking_average_precision_score "
        "label_ranking_loss metric_at_thresholds ndcg_score precision_recall_curve "
        "roc_auc_score roc_curve top_k_accuracy_score"
    ),
    "sklearn.metrics._regression": (
        "d2_absolute_error_score d2_pinball_score d2_tweedie_score "
        "explained_variance_score max_error mean_absolute_error "
        "mean_absolute_percentage_error mean_gamma_deviance mean_pinball_loss "
        "mean_poisson_deviance mean_squared_error mean_squared_log_error "
        "mean_tweedie_deviance median_absolute_error r2_score "
        "root_mean_squared_error root_mean_squared_log_error"
    ),
    "sklearn.metrics._scorer": (
        "_CurveScorer _MultimetricScorer _PassthroughScorer _Scorer"
    ),
    "sklearn.model_selection._split": (
        "GroupKFold GroupShuffleSplit KFold LeaveOneGroupOut LeaveOneOut "
        "LeavePGroupsOut LeavePOut PredefinedSplit RepeatedKFold "
        "RepeatedStratifiedKFold ShuffleSplit StratifiedGroupKFold StratifiedKFold "
        "StratifiedShuffleSplit TimeSeriesSplit _CVIterableWrapper"
    ),
    "sklearn.neural_network._stochastic_optimizers": "AdamOptimizer SGDOptimizer",
    "sklearn.utils._bunch": "Bunch",
    "sklearn.utils._metadata_requests": (
        "MetadataRequest MethodMapping MethodMetadataRequest MethodPair"
    ),
    "xgboost.sklearn": "XGBClassifier XGBRegressor XGBRFClassifier XGBRFRegressor",
}
_TORCH = {
    "torch._C._nn": "gelu",
    "torch.nn.functional": "elu gelu leaky_relu relu selu silu",
    "torch.nn.modules.activation": (
        "CELU ELU GELU GLU Hardshrink Hardsigmoid Hardswish Hardtanh LeakyReLU "
        "LogSigmoid LogSoftmax Mish MultiheadAttention PReLU RReLU ReLU ReLU6 SELU "
        "SiLU Sigmoid Softmax Softmax2d Softmin Softplus Softshrink Softsign Tanh "
        "Tanhshrink Threshold"
    ),
    "torch.nn.modules.batchnorm": "BatchNorm1d BatchNorm2d BatchNorm3d",
    "torch.nn.modules.channelshuffle": "ChannelShuffle",
    "torch.nn.modules.container": (
        "ModuleDict ModuleList ParameterDict ParameterList Sequential"
    ),
    "torch.nn.modules.conv": (
        "Conv1d Conv2d Conv3d ConvTranspose1d ConvTranspose2d ConvTranspose3d"
    ),
    "torch.nn.modules.distance": "CosineSimilarity PairwiseDistance",
    "torch.nn.modules.dropout": (
        "AlphaDropout Dropout Dropout1d Dropout2d Dropout3d FeatureAlphaDropout"
    ),
    "torch.nn.modules.flatten": "Flatten Unflatten",
    "torch.nn.modules.fold": "Fold Unfold",
    "torch.nn.modules.instancenorm": "InstanceNorm1d InstanceNorm2d InstanceNorm3d",
    "torch.nn.modules.linear": (
        "Bilinear Identity Linear NonDynamicallyQuantizableLinear"
    ),
    "torch.nn.modules.module": "Module",
    "torch.nn.modules.normalization": (
        "CrossMapLRN2d GroupNorm LayerNorm LocalResponseNorm RMSNorm"
    ),
    "torch.nn.modules.padding": (
        "CircularPad1d CircularPad2d CircularPad3d ConstantPad1d ConstantPad2d "
        "ConstantPad3d ReflectionPad1d ReflectionPad2d ReflectionPad3d "
        "ReplicationPad1d ReplicationPad2d ReplicationPad3d ZeroPad1d ZeroPad2d "
        "ZeroPad3d"
    ),
    "torch.nn.modules.pixelshuffle": "PixelShuffle PixelUnshuffle",
    "torch.nn.modules.pooling": (
        "AdaptiveAvgPool1d AdaptiveAvgPool2d AdaptiveAvgPool3d AdaptiveMaxPool1d "
        "AdaptiveMaxPool2d AdaptiveMaxPool3d AvgPool1d AvgPool2d AvgPool3d "
        "FractionalMaxPool2d FractionalMaxPool3d LPPool1d LPPool2d LPPool3d "
        "MaxPool1d MaxPool2d MaxPool3d MaxUnpool1d MaxUnpool2d MaxUnpool3d"
    ),
    "torch.nn.modules.rnn": "GRU GRUCell LSTM LSTMCell RNN RNNBase RNNCell RNNCellBase",
    "torch.nn.modules.sparse": "Embedding EmbeddingBag",
    "torch.nn.modules.transformer": (
        "Transformer TransformerDecoder TransformerDecoderLayer TransformerEncoder "
        "TransformerEncoderLayer"
    ),
    "torch.nn.modules.upsampling": "Upsample UpsamplingBilinear2d UpsamplingNearest2d",
}
_TORCHVISION = {
    "torchvision.models.alexnet": "AlexNet",
    "torchvision.models.convnext": "CNBlock ConvNeXt LayerNorm2d",
    "torchvision.models.densenet": "DenseNet _DenseBlock _DenseLayer _Transition",
    "torchvision.models.efficientnet": "EfficientNet FusedMBConv MBConv",
    "torchvision.models.googlenet": "BasicConv2d GoogLeNet Inception InceptionAux",
    "torchvision.models.inception": (
        "BasicConv2d Inception3 InceptionA InceptionAux InceptionB InceptionC "
        "InceptionD InceptionE"
    ),
    "torchvision.models.maxvit": (
        "MBConv MaxVit MaxVitBlock MaxVitLayer PartitionAttentionLayer "
        "RelativePositionalMultiHeadAttention SwapAxes WindowDepartition "
        "WindowPartition"
    ),
    "torchvision.models.mnasnet": "MNASNet _InvertedResidual",
    "torchvision.models.mobilenetv2": "InvertedResidual MobileNetV2",
    "torchvision.models.mobilenetv3": "InvertedResidual MobileNetV3",
    "torchvision.models.regnet": (
        "AnyStage BottleneckTransform RegNet ResBottleneckBlock SimpleStemIN"
    ),
    "torchvision.models.resnet": "BasicBlock Bottleneck ResNet",
    "torchvision.models.shufflenetv2": "InvertedResidual ShuffleNetV2",
    "torchvision.models.squeezenet": "Fire SqueezeNet",
    "torchvision.models.swin_transformer": (
        "PatchMerging PatchMergingV2 ShiftedWindowAttention "
        "ShiftedWindowAttentionV2 SwinTransformer SwinTransformerBlock "
        "SwinTransformerBlockV2"
    ),
    "torchvision.models.vgg": "VGG",
    "torchvision.models.video.mvit": (
        "MViT MultiscaleAttention MultiscaleBlock Pool PositionalEncoding"
    ),
    "torchvision.models.video.resnet": (
        "BasicBlock BasicStem Bottleneck Conv2Plus1D Conv3DNoTemporal Conv3DSimple "
        "R2Plus1dStem VideoResNet"
    ),
    "torchvision.models.video.s3d": "S3D SepInceptionBlock3D TemporalSeparableConv",
    "torchvision.models.video.swin_transformer": (
        "PatchEmbed3d ShiftedWindowAttention3d SwinTransformer3d"
    ),
    "torchvision.models.vision_transformer": (
        "Encoder EncoderBlock MLPBlock VisionTransformer"
    ),
    "torchvision.ops.misc": (
        "Conv2dNormActivation Conv3dNormActivation ConvNormActivation "
        "FrozenBatchNorm2d MLP Permute SqueezeExcitation"
    ),
    "torchvision.ops.stochastic_depth": "StochasticDepth",
}
#: Qualified names that a file may contain without being asked for.
TRUSTED = frozenset(
    f"{module}.{name}"
    for listed in (_SKFUSION, _LEARNERS, _TORCH, _TORCHVISION)
    for module, names in listed.items()
    for name in names.split()
)

#: Names in files of older versions, and where their classes are now. A class that moves
#: gets an entry, so that files survive a rearrangement of the package.
MOVED: dict[str, str] = {}
