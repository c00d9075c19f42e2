"""Classifies the rows of an .npy file with a served model, by Triton's own client over gRPC.

    pip install 'tritonclient[grpc]' numpy
    python predict.py localhost:8001 digits_cnn X.npy --labels L.npy --output Y.npy
"""

import argparse

import numpy as np
import tritonclient.grpc as triton


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("url", help="HOST:PORT of the gRPC service")
    parser.add_argument("model", help="name of a model with one input and one output")
    parser.add_argument("input", help=".npy, a row a sample")
    parser.add_argument("--labels", help=".npy, the right class of each row")
    parser.add_argument("--output", help="where to write the answers, .npy")
    parser.add_argument("--batch", type=int, default=64, help="rows of a request")
    args = parser.parse_args()

    client = triton.InferenceServerClient(args.url)
    metadata = client.get_model_metadata(args.model)
    (source,), (target,) = metadata.inputs, metadata.outputs
    rows = np.load(args.input).astype(np.float32)

    answers = []
    for start in range(0, len(rows), args.batch):
        batch = rows[start : start + args.batch]
        tensor = triton.InferInput(source.name, batch.shape, source.datatype)
        tensor.set_data_from_numpy(batch)
        result = client.infer(args.model, [tensor])
        answers.append(result.as_numpy(target.name))
    answers = np.concatenate(answers)

    parameters = result.get_response().parameters
    backend, exact = parameters["hypersonic_backend"].string_param, parameters["hypersonic_exact"].bool_param
    print(f"{len(answers)} rows by backend '{backend}', exact bits: {str(exact).lower()}")
    classes = answers.argmax(axis=1)
    print("first classes:", *classes[:10])
    if args.labels:
        print(f"accuracy {100 * np.mean(classes == np.load(args.labels)):.2f} %")
    if args.output:
        np.save(args.output, answers)


if __name__ == "__main__":
    main()
