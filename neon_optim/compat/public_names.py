"""neon's public names: which of them there are here, how they differ, and what a program without them uses.

What there is, is found out by importing; here stand only the names and what cannot be found out.
"""

from __future__ import annotations

import importlib
from functools import cache
from typing import NamedTuple

__all__ = ["NAMES", "Standing", "modern_form", "modules", "names_of", "standing"]

NAMES = {
    "neon": "__version__ DISPLAY_LEVEL_NUM get_args load_class logger NervanaObject",
    "neon.backends": "Autodiff cleanup_backend gen_backend",
    "neon.backends.abstract_backend": "AbstractBackend Backend_ABC_Meta",
    "neon.backends.autodiff": "Autodiff GradNode GradUtil",
    "neon.backends.backend": "Backend Block OpCollection OpTreeNode Tensor",
    "neon.backends.layer_cpu": "ConvLayer DeconvLayer PoolLayer",
    "neon.backends.nervanacpu": "CPUTensor CustomNumpy NervanaCPU",
    "neon.backends.nervanagpu": "GPUTensor NervanaGPU",
    "neon.backends.util.check_gpu": "ensure_gpu_capability get_compute_capability get_device_count",
    "neon.backends.util.check_mkl": "get_mkl_lib",
    "neon.backends.util.source_module": "SourceModule",
    "neon.benchmark": "Benchmark",
    "neon.benchmark.benchmark": "Benchmark",
    "neon.callbacks": "Callbacks",
    "neon.callbacks.callbacks": """
        BatchNormTuneCallback Callback Callbacks DeconvCallback EarlyStopCallback GANCostCallback
        get_progress_string HistCallback LossCallback MetricCallback MultiLabelStatsCallback
        ProgressBarCallback RunTimerCallback SaveBestStateCallback SerializeModelCallback
        TrainCostCallback TrainLoggerCallback TrainMulticostCallback WatchTickerCallback
    """,
    "neon.callbacks.plotting_callbacks": "GANPlotCallback",
    "neon.data": """
        ArrayIterator BABI CIFAR10 Coco CopyTask Dataset DUMMY Flickr30k Flickr8k HDF5Iterator
        HDF5IteratorAutoencoder HDF5IteratorOneHot HutterPrize ImageCaption ImageCaptionTest IMDB
        MNIST NervanaDataIterator PrioritySortTask PTB QA RepeatCopyTask Shakespeare SICK Text
        Ticker
    """,
    "neon.data.aeon_shim": "AeonDataLoader",
    "neon.data.convert_manifest": "convert_manifest",
    "neon.data.dataiterator": "ArrayIterator NervanaDataIterator",
    "neon.data.dataloader_transformers": """
        BGRMeanSubtract DataLoaderTransformer DumpImage OneHot PixelWiseOneHot Retuple TypeCast
        ValueNormalize
    """,
    "neon.data.dataloaderadapter": "DataLoaderAdapter",
    "neon.data.datasets": "Dataset",
    "neon.data.hdf5iterator": "HDF5Iterator HDF5IteratorAutoencoder HDF5IteratorOneHot",
    "neon.data.image": "CIFAR10 DUMMY MNIST",
    "neon.data.imagecaption": "Coco Flickr30k Flickr8k ImageCaption ImageCaptionTest",
    "neon.data.indexer": "Indexer",
    "neon.data.questionanswer": "BABI QA",
    "neon.data.text": "HutterPrize IMDB PTB Shakespeare SICK Text TextNMT",
    "neon.data.text_preprocessing": """
        clean_string get_google_word2vec_W get_paddedXY pad_data pad_sentences
    """,
    "neon.data.ticker": "CopyTask PrioritySortTask RepeatCopyTask Task Ticker",
    "neon.initializers": """
        Array Constant Gaussian GlorotUniform IdentityInit Kaiming Orthonormal Uniform Xavier
    """,
    "neon.initializers.initializer": """
        Array Constant Gaussian GlorotUniform IdentityInit Initializer Kaiming Orthonormal Uniform
        Xavier
    """,
    "neon.layers": """
        Activation Affine BatchNorm BatchNormAutodiff Bias BiBNRNN BiLSTM BinaryAffine BinaryLinear
        BiRNN BranchNode Conv Convolution DataTransform Deconv Deconvolution DeepBiLSTM DeepBiRNN
        Dropout GeneralizedCost GeneralizedCostMask GeneralizedGANCost GRU Linear LookupTable LRN
        LSTM MergeBroadcast MergeMultistream MergeSum Multicost Pooling Recurrent RecurrentLast
        RecurrentMean RecurrentSum Reshape RoiPooling Seq2Seq Sequential ShiftBatchNorm
        SingleOutputTree SkipNode SkipThought Tree
    """,
    "neon.layers.container": """
        Broadcast Decoder DeltasTree Encoder flatten GenerativeAdversarial LayerContainer
        MergeBroadcast MergeMultistream MergeSum Multicost Seq2Seq Sequential SingleOutputTree
        SkipThought Tree
    """,
    "neon.layers.layer": """
        Activation Affine BatchNorm BatchNormAutodiff Bias BinaryAffine BinaryLinear BranchNode
        CompoundLayer Conv Convolution Convolution_bias DataTransform Deconv Deconvolution Dropout
        GeneralizedCost GeneralizedCostMask GeneralizedGANCost interpret_in_shape Layer Linear
        LookupTable LRN ParameterLayer Pooling Reshape RoiPooling ShiftBatchNorm SkipNode
    """,
    "neon.layers.recurrent": """
        BiBNRNN BiLSTM BiRNN BiSum DeepBiLSTM DeepBiRNN get_steps GRU interpret_in_shape LSTM
        Recurrent RecurrentLast RecurrentMean RecurrentOutput RecurrentSum
    """,
    "neon.models": "Model",
    "neon.models.model": "GAN Model",
    "neon.optimizers": """
        Adadelta Adagrad Adam ExpSchedule GradientDescentMomentum MultiOptimizer PolySchedule
        PowerSchedule RMSProp Schedule ShiftAdaMax ShiftSchedule StepSchedule
    """,
    "neon.optimizers.optimizer": """
        Adadelta Adagrad Adam ExpSchedule get_param_list GradientDescentMomentum MultiOptimizer
        Optimizer PolySchedule PowerSchedule RMSProp Schedule ShiftAdaMax ShiftSchedule StepSchedule
    """,
    "neon.transforms": """
        Accuracy BLEUScore CrossEntropyBinary CrossEntropyMulti Explin GANCost Identity Logistic
        LogLoss MeanSquared Misclassification Normalizer ObjectDetection PixelwiseSoftmax
        PrecisionRecall Rectlin Rectlinclip Sign SmoothL1Loss Softmax SquareHingeLoss SumSquared
        Tanh TopKMisclassification
    """,
    "neon.transforms.activation": """
        Explin Identity Logistic Normalizer PixelwiseSoftmax Rectlin Rectlinclip Sign Softmax Tanh
    """,
    "neon.transforms.cost": """
        Accuracy BLEUScore Cost CrossEntropyBinary CrossEntropyMulti GANCost LogLoss MeanSquared
        Metric Misclassification MultiMetric ObjectDetection PrecisionRecall SmoothL1Loss
        SquareHingeLoss SumSquared TopKMisclassification
    """,
    "neon.transforms.transform": "Transform",
    "neon.util.argparser": "extract_valid_args NeonArgparser",
    "neon.util.beamsearch": "BeamSearch",
    "neon.util.compat": "pickle_load PY3",
    "neon.util.display_information": """
        add_param_to_output display_cpu_information display_model_params
        display_platform_information
    """,
    "neon.util.load_experiment": "deserialize",
    "neon.util.modeldesc": "ModelDescription",
    "neon.util.persist": """
        ensure_dirs_exist get_cache_dir get_data_cache_dir get_data_cache_or_nothing load_class
        load_obj save_obj serialize
    """,
    "neon.util.shelver": "atomic_shelve",
    "neon.util.yaml_parse": "create_objects format_yaml_dict",
    "neon.version": "VERSION",
    "neon.visualizations.data": """
        convert_rgb_to_bokehrgba create_epoch_x create_minibatch_x h5_cost_data h5_deconv_data
        h5_hist_data
    """,
    "neon.visualizations.figure": "cost_fig deconv_figs deconv_summary_page hist_fig image_fig x_label",
}
"""Module of neon 2.6 → its public names. Left out are the kernels of its GPU and MKL backends."""

DIFFERS = {
    "neon.backends.gen_backend": "'mkl' is taken as 'cpu'; `deterministic=True` gives the same bits everywhere",
    "neon.data.image.MNIST": "read from its file, never downloaded; `shuffle=True` moves the labels with the images",
    "neon.data.image.CIFAR10": "read from its files, never downloaded; the archive is not unpacked",
    "neon.data.datasets.Dataset": "nothing is downloaded: what is missing is an error with its path and address",
    "neon.util.argparser.NeonArgparser": "`-b` is cpu unless said otherwise; a mistake ends with exit code 2",
    "neon.util.compat.pickle_load": "reads plain data and arrays; runs nothing that is in the file",
    "neon.util.persist.load_obj": "reads plain data and arrays; runs nothing that is in the file",
    "neon.util.persist.save_obj": "writes plain data and arrays, whole or not at all; refuses anything else",
    "neon.util.persist.load_class": "finds classes that are known; imports nothing that a file names",
    "neon.data.imagecaption.ImageCaption": "BLEU is computed here, not by a Perl script that is downloaded",
    "neon.data.imagecaption.ImageCaptionTest": "BLEU is computed here, not by a Perl script that is downloaded",
    "neon.data.aeon_shim.AeonDataLoader": "needs aeon only when it is called",
}
"""Full name → how it differs, beyond docs/neon-differences.md."""

ABSENT = {
    "neon.visualizations": "its pages need Bokeh of 2016; callbacks still write neon's HDF5 file, and "
    "`neon-optim train` draws a metrics log",
    "neon.backends.util.source_module": "PyCUDA's, patched for Maxwell",
    "neon.backends.nervanacpu.CustomNumpy": "a helper of its CPU backend",
    "neon.backends.autodiff.GradNode": "the inside of Autodiff; derivatives are `neon_optim.backends.gradients`",
    "neon.backends.autodiff.GradUtil": "the inside of Autodiff; derivatives are `neon_optim.backends.gradients`",
}
"""Full name, or the begin of it → why it is not there."""

MODERN = {
    "neon.NervanaObject": "neon_optim.NervanaObject",
    "neon.logger": "logging.getLogger",
    "neon.layers.GeneralizedCost": "the cost itself: `Model.fit(data, cost=CrossEntropyMulti(), …)`",
    "neon.callbacks.Callbacks": "`Model.fit(…, callbacks=[Validation(…), MetricsLog(…), Checkpoints(…)])`",
    "neon.callbacks.callbacks.Callbacks": "`Model.fit(…, callbacks=[Validation(…), MetricsLog(…), Checkpoints(…)])`",
    "neon.callbacks.callbacks.SerializeModelCallback": "neon_optim.model.Checkpoints",
    "neon.callbacks.callbacks.MetricCallback": "neon_optim.model.Validation",
    "neon.callbacks.callbacks.LossCallback": "neon_optim.model.Validation",
    "neon.util.argparser.NeonArgparser": "`neon-optim train CONFIG`, whose options have the same letters",
    "neon.util.persist.load_obj": "neon_optim.serialization.read_neon_pickle, load_checkpoint",
    "neon.util.persist.save_obj": "neon_optim.serialization.save_checkpoint",
    "neon.util.persist.load_class": "neon_optim.registry.resolve",
    "neon.util.yaml_parse.create_objects": "neon_optim.serialization.load_config",
    "neon.util.modeldesc.ModelDescription": "neon_optim.serialization.read_neon_pickle",
    "neon.transforms.transform.Transform": "neon_optim.model.ActivationFunction",
    "neon.layers.container.LayerContainer": "neon_optim.model.Sequential",
    "neon.backends.nervanacpu.NervanaCPU": "neon_optim.backends.cpu.backend.CPUBackend",
    "neon.backends.nervanagpu.NervanaGPU": "neon_optim.backends.gpu.backend.GPUBackend",
    "neon.backends.backend.OpTreeNode": "neon_optim.backends.optree.Node",
}
"""Full name → what takes its place outside neon_optim.compat, where that has another name."""

_HOMES = ("neon_optim.optimizers", "neon_optim.model", "neon_optim.backends", "neon_optim.serialization")


class Standing(NamedTuple):
    """What there is of a name of neon's: `status` is 'here', 'differs' or 'absent'; `note` says how or why."""

    status: str
    note: str = ""


def modules() -> list[str]:
    """neon's public modules."""
    return sorted(NAMES)


def names_of(module: str) -> list[str]:
    """The public names of one of neon's modules."""
    return NAMES.get(module, "").split()


@cache
def standing(module: str, name: str) -> Standing:
    """What there is of a name under ``neon`` once ``install_as_neon`` was called.

    >>> standing("neon.optimizers", "Adam")
    Standing(status='here', note='')
    >>> standing("neon.visualizations.figure", "cost_fig").status
    'absent'
    """
    full = f"{module}.{name}"
    found = _found(module, name)
    if found is None:
        reasons = [why for begin, why in ABSENT.items() if f"{full}.".startswith(f"{begin}.")]
        return Standing("absent", reasons[0] if reasons else "")
    note = DIFFERS.get(full) or DIFFERS.get(_home(found) or "")
    return Standing("differs", note) if note else Standing("here")


def modern_form(module: str, name: str) -> str:
    """What a program uses that does without neon's names; '' where there is nothing of the kind.

    >>> modern_form("neon.optimizers", "Adam")
    'neon_optim.optimizers.Adam'
    """
    stated = MODERN.get(f"{module}.{name}")
    if stated is None:
        stated = next((text for full, text in MODERN.items() if full.endswith(f".{name}")), None)
    if stated is not None:
        return stated
    for home in _HOMES:
        if name in getattr(importlib.import_module(home), "__all__", ()):
            return f"{home}.{name}"
    return ""


def _found(module: str, name: str) -> object | None:
    ours = f"{__package__}.{module}"
    try:
        return getattr(importlib.import_module(ours), name, None)
    except ModuleNotFoundError as error:
        if not ours.startswith(error.name or "?"):
            raise
        return None


def _home(found: object) -> str | None:
    """The full name, in neon's words, of where a class or function is made."""
    module, name = getattr(found, "__module__", None), getattr(found, "__name__", None)
    prefix = f"{__package__}."
    return f"{module.removeprefix(prefix)}.{name}" if module and name and module.startswith(prefix) else None
