"""Asks a server with the official clients; run in an environment of its own.

`tritonclient` wants an older protobuf than the rest of the tests.
"""

import sys

import numpy as np
import tritonclient.grpc as over_grpc
import tritonclient.http as over_http

TEXTS = ["第一条 双方同意。" * 40, "The court finds that ..."]


def check(library, address):
    client = library.InferenceServerClient(address)
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("default")
    server, model = client.get_server_metadata(), client.get_model_metadata("default")
    if library is over_grpc:
        assert server.name == "longform"
        names = [one.name for one in model.outputs]
    else:
        assert server["name"] == "longform"
        names = [one["name"] for one in model["outputs"]]
    assert names == ["label", "score", "coverage"]
    tensor = library.InferInput("text", [len(TEXTS)], "BYTES")
    tensor.set_data_from_numpy(np.array([text.encode() for text in TEXTS], dtype=object))
    result = client.infer("default", [tensor], request_id="42")
    labels = [one.decode() if isinstance(one, bytes) else one for one in result.as_numpy("label")]
    scores = result.as_numpy("score")
    assert scores.dtype == np.float32
    assert (result.as_numpy("coverage") == 1).all()
    return labels, scores.tolist()


http_answer = check(over_http, sys.argv[1])
grpc_answer = check(over_grpc, sys.argv[2])
assert http_answer[0] == grpc_answer[0]
assert np.allclose(http_answer[1], grpc_answer[1], atol=1e-5)
sys.stdout.write(" ".join(["agreed", *http_answer[0]]))
