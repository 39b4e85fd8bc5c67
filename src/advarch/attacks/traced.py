"""A network's forward pass as a graph of calls of torch's own layers, as far as it can be followed."""

from typing import Any

from torch import fx, nn


class _Tracer(fx.Tracer):
    """Follows a forward pass down to torch's own layers, and past modules that can't be followed."""

    # Else what is computed from a buffer would be a constant of the moment.
    proxy_buffer_attributes = True

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return hooked(m) or super().is_leaf_module(m, module_qualified_name)

    def call_module(self, m: nn.Module, forward: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        del (
            forward
        )  # calls the module, which can't be followed where it is compiled; its hooks are looked after above
        stack, before = self.module_stack.copy(), set(self.graph.nodes)
        try:
            return super().call_module(m, m.forward, args, kwargs)
        except Exception:  # of any kind: a forward pass may branch on a size, iterate, ask for a number
            self.module_stack = stack
            # What was followed until it could not be followed further. Values of buffers stay: others may read them, too.
            for node in reversed([node for node in self.graph.nodes if node not in before]):
                if not node.users and node.op != "get_attr":
                    self.graph.erase_node(node)
            return self.create_proxy("call_module", self.path_of_module(m), args, kwargs)


def traced(network: nn.Module) -> fx.GraphModule:
    """The network's forward pass as a graph, in the state that it is in."""
    # In a row of one, so that the whole network can be a module that can't be followed, too.
    root = nn.Sequential(network)
    # Nothing else is dead: a line whose result nobody reads may change a map in place.
    return fx.GraphModule(root, _Tracer().trace(root))


def hooked(module: nn.Module) -> bool:
    """Whether something is called before, behind or in place of the module, which a trace passes by."""
    hooks = (
        module._forward_hooks,
        module._forward_pre_hooks,
        module._backward_hooks,
        module._backward_pre_hooks,
    )
    return any(hooks) or "forward" in vars(module)


def module_at(graph: fx.GraphModule, node: fx.Node) -> nn.Module:
    """The module that a node calls."""
    return graph.get_submodule(str(node.target))
