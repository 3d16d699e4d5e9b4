"""The workload, in the order data flows: keypoints → dataset → normalise → model → loop → export → predict.

It knows nothing of AWS: `trainer.train` speaks SageMaker's training contract, environment
variables and directories, and runs alike on an instance, on SageMaker and on a laptop.
"""
