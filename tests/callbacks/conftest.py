"""TensorBoard itself, to be asked what it shows."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def tensorboard() -> Callable[[Path], Callable[..., Any]]:
    """A folder -> a function that asks TensorBoard over HTTP, without a socket: `get("scalars/tags").json`."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "html5lib's sanitizer", DeprecationWarning)
        from tensorboard.backend import application
    from tensorboard.backend.event_processing import data_provider, plugin_event_multiplexer
    from tensorboard.plugins import base_plugin
    from tensorboard.plugins.image.images_plugin import ImagesPlugin
    from tensorboard.plugins.projector.projector_plugin import ProjectorPlugin
    from tensorboard.plugins.scalar.scalars_plugin import ScalarsPlugin
    from tensorboard.plugins.text.text_plugin import TextPlugin
    from werkzeug.test import Client

    def start(folder: Path) -> Callable[..., Any]:
        multiplexer = plugin_event_multiplexer.EventMultiplexer().AddRunsFromDirectory(str(folder))
        multiplexer.Reload()
        provider = data_provider.MultiplexerDataProvider(multiplexer, str(folder))
        context = base_plugin.TBContext(logdir=str(folder), data_provider=provider, multiplexer=multiplexer)
        plugins = [plugin(context) for plugin in (ScalarsPlugin, ImagesPlugin, TextPlugin, ProjectorPlugin)]
        client = Client(application.TensorBoardWSGI(plugins))

        def get(route: str, **query: Any) -> Any:
            response = client.get(f"/data/plugin/{route}", query_string=query)
            assert response.status_code == 200, response.text
            return response

        return get

    return start
