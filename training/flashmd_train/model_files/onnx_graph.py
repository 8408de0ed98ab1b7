"""ONNX graphs of PyTorch modules, opset 20: forward passes, and scalars with their gradients.

Every graph is proved before it is returned: ONNX Runtime against PyTorch at other N and K, padded and not, and no
scatter that adds.
"""

from __future__ import annotations

import copy
import io
import logging
import warnings

import onnx
import torch
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx

from flashmd_train.backbones.pair_field import BySpecies
from flashmd_train.graph.nef import Graph
from flashmd_train.model_files.contract import HAS_SLOTS, contract_inputs
from flashmd_train.model_files.parity import prove

# It reports the absence of torchvision, which nothing here uses.
logging.getLogger("torch.onnx._internal.exporter._registration").setLevel(logging.ERROR)

OPSET = 20


def export_forward(
    module: nn.Module, inputs: tuple[str, ...], outputs: tuple[str, ...], graphs: list[Graph]
) -> tuple[onnx.ModelProto, float]:
    """ONNX graph of a module, traced on the last of ``graphs``, and its parity error over all of them.

    Raises:
        ValueError: ONNX Runtime does not do what PyTorch does.
    """
    model = trace_forward(module, inputs, outputs, graphs[-1])
    return model, prove(model, frozen(module), inputs, graphs)


def export_gradients(
    module: nn.Module, inputs: tuple[str, ...], by: tuple[str, ...], outputs: tuple[str, ...], graphs: list[Graph]
) -> tuple[onnx.ModelProto, float]:
    """ONNX graph of a scalar and its gradients by the inputs ``by``, and its parity error, as `export_forward`."""
    model = trace_gradients(module, inputs, by, outputs, graphs[-1])
    return model, prove(model, WithGradients(frozen(module), inputs, by), inputs, graphs)


def trace_forward(
    module: nn.Module, inputs: tuple[str, ...], outputs: tuple[str, ...], graph: Graph
) -> onnx.ModelProto:
    """ONNX graph of a forward pass, not proved, by the tracing exporter: seconds for unrolled inner steps."""
    axes = {name: {0: "N", 1: "K"} if name in HAS_SLOTS else {0: "N"} for name in inputs}
    axes |= {name: {0: "N"} for name in outputs}
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            frozen(module),
            contract_inputs(graph, inputs),
            buffer,
            dynamo=False,
            opset_version=OPSET,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_axes=axes,
        )
    model = onnx.load_from_string(buffer.getvalue())
    used = {name for node in model.graph.node for name in node.input}
    for declared in [value for value in model.graph.input if value.name not in used]:
        model.graph.input.remove(declared)
    return model


class _Traced(nn.Module):
    """A traced graph as a module, which the exporter wants."""

    def __init__(self, traced: torch.fx.GraphModule) -> None:
        super().__init__()
        self.traced = traced

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        return self.traced(*inputs)


def trace_gradients(
    module: nn.Module, inputs: tuple[str, ...], by: tuple[str, ...], outputs: tuple[str, ...], graph: Graph
) -> onnx.ModelProto:
    """ONNX graph of a scalar and its gradients, not proved: traced to core operators first, then exported."""
    example = contract_inputs(graph, inputs)
    traced = make_fx(
        WithGradients(frozen(module), inputs, by),
        decomposition_table=torch._decomp.core_aten_decompositions(),
        tracing_mode="symbolic",
        _allow_non_fake_inputs=True,
    )(*example)
    auto = torch.export.Dim.AUTO
    shapes = tuple({0: auto, 1: auto} if name in HAS_SLOTS else {} if name == "head" else {0: auto} for name in inputs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exported = torch.export.export(
            _Traced(traced), example, dynamic_shapes=(shapes,), prefer_deferred_runtime_asserts_over_guards=True
        )
        program = torch.onnx.export(
            exported,
            dynamo=True,
            opset_version=OPSET,
            input_names=list(inputs),
            output_names=list(outputs),
            external_data=False,
            verbose=False,
        )
    model = program.model_proto
    _strip(model)
    return model


def _strip(model: onnx.ModelProto) -> None:
    """Drop the exporter's notes, which hold file names of the machine that ran it."""
    del model.metadata_props[:], model.graph.metadata_props[:], model.graph.value_info[:]
    model.doc_string = model.graph.doc_string = ""
    for part in [*model.graph.node, *model.graph.input, *model.graph.output, *model.graph.initializer]:
        part.doc_string = ""
        del part.metadata_props[:]


class WithGradients(nn.Module):
    """A per-atom scalar [N] and the gradients of its sum.

    Args:
        model: takes ``inputs`` in order and returns the scalar.
        inputs: names of its inputs.
        by: those of them that the sum is differentiated by.
    """

    def __init__(self, model: nn.Module, inputs: tuple[str, ...], by: tuple[str, ...]) -> None:
        super().__init__()
        self.model = model
        self.by = tuple(inputs.index(name) for name in by)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        def total(*variables: Tensor) -> tuple[Tensor, Tensor]:
            every = list(inputs)
            for index, variable in zip(self.by, variables):
                every[index] = variable
            scalar = self.model(*every)
            return scalar.sum(), scalar

        argnums = tuple(range(len(self.by)))
        gradients, scalar = torch.func.grad(total, argnums, has_aux=True)(*(inputs[index] for index in self.by))
        return (scalar, *gradients)


def frozen(module: nn.Module) -> nn.Module:
    """A copy in evaluation mode, without gradients, with whitening folded into the weights."""
    module = copy.deepcopy(module).eval().requires_grad_(False)
    for part in module.modules():
        if isinstance(part, BySpecies):
            part.fold()
    return module
