"""Problems that others published, solved: one command each, a JSON record, a page.

``python -m benchmarks.published.train_channels TI``  the spatial GAN of channels, from step 0 on
``python -m benchmarks.published.tomography RUN``     crosshole tomography, Laloy et al. 2019
``python -m benchmarks.published.truths RUN DATA``    the two true models of that paper
``python -m benchmarks.published.relu``               small ReLU generators, Lei et al. 2019
``python -m benchmarks.published.clipping RUN``       stochastic clipping, Lipton & Tripathi 2017
``python -m benchmarks.published.rivals``             today's rivals on the packaged generator
``python -m benchmarks.published.page``               `docs/published.md` from the records
"""
