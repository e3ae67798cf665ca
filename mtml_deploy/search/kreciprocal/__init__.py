"""The steps of k-reciprocal re-ranking (Zhong et al. 2017), in order; `rerank` puts them together.

neighbours: exact nearest lists of all images (with candidate_pool, duplicates);
encoding: the encoding of each image by its reciprocal neighbours; jaccard: Jaccard distances.
"""
