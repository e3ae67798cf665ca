"""The parity gate: may this candidate replace the reference it was made from?

In: a candidate (other precision, backend or device) and its fp32 reference, on labelled images.
Out: measures, a verdict by stated bounds, and the record of it beside the model.
"""
