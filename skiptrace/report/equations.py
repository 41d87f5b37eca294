"""The formula that each section is about, by its folder and file, in the notation of `rendering.formulas`.

Of the papers in `published`: the framework for models, the toy models for superposition.
"""

FORMULAS = {
    "models.bigrams": "p ( next | token ) = softmax ( W_E W_U )",
    "models.account": (
        "A_{ds} = softmax_s ( α_d + β_s + QK_{ds} ) ,   "
        "alone_{ds} = exp a_{ds} / ( exp a_{ds} + exp a_{d0} + exp a_{dd} + Σ_k m_{dk} )"
    ),
    "models.terms": ("logits = W_E W_U + Σ_h A^h W_E W_OV^h W_U + Σ_{h₁ h₂} A^{h₂} A^{h₁} W_E W_OV^{h₁} W_OV^{h₂} W_U"),
    "models.skip_trigrams": "QK = W_E W_Q W_K^⊤ W_E^⊤ ,   OV = W_E W_V W_O W_U",
    "models.evidence": "effect = log p ( out ) − log p ( out | cut )",
    "models.bugs": "A … B → C ,   A … D → E   ⇒   A … B → E ,   A … D → C",
    "models.heads": "copying = Σ_i λ_i / Σ_i | λ_i | ,   W_E W_V W_O W_U v_i = λ_i v_i",
    "models.directions": "W_E W_V W_O W_U = Σ_k s_k u_k v_k^⊤ ,   W_E W_Q W_K^⊤ W_E^⊤ = Σ_k s_k u_k v_k^⊤",
    "models.feature_rows": "QK = D W_Q W_K^⊤ D^⊤ ,   OV = D W_V W_O W_U ,   x ≈ Σ_a f_a D_a",
    "models.rules": "closest = argmax_r Σ_w min ( p ( w ) , q_r ( w ) )",
    "models.composition": "‖ W_QK^{h₂} W_OV^{h₁} ‖ / ( ‖ W_QK^{h₂} ‖ ‖ W_OV^{h₁} ‖ )",
    "models.virtual": "A^{h₂} A^{h₁} ⊗ W_E W_OV^{h₁} W_OV^{h₂} W_U",
    "models.induction": "A^{h₂} = softmax ( W_E W_QK^{h₂} ( A^{h₁} W_E W_OV^{h₁} )^⊤ )",
    "superposition.five": "x′ = ReLU ( W^⊤ W x + b )",
    "superposition.geometry": "D* = m / ‖ W ‖^2 ,   D_i = ‖ W_i ‖^2 / Σ_j ( W_i · W_j / ‖ W_i ‖ )^2",
    "superposition.larger": "x′_i = ReLU ( ‖ W_i ‖^2 x_i + b_i + interference )",
    "superposition.vectors": "n ≥ e^{d ε^2 / 4}",
    "dictionaries.language": "recovered = ( L_mean − L_recon ) / ( L_mean − L_orig )",
    "dictionaries.toy": "loss = ‖ x − W_d f − b_d ‖^2 + λ Σ_i f_i ,   f = ReLU ( W_e ( x − b_d ) + b_e )",
}
