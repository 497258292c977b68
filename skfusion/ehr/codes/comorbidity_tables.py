"""Published code lists and weights of the comorbidity indices.

The sources are listed in `comorbidity`. Codes are prefixes without dots, and
``"4254-4259"`` is a range.
"""

from __future__ import annotations

__all__ = [
    "CHARLSON_CODES",
    "CHARLSON_WEIGHTS",
    "ELIXHAUSER_CODES",
    "ELIXHAUSER_WEIGHTS",
]


Definitions = dict[str, dict[str, str]]


def _diabetes(fourth: str) -> str:
    """Return codes of the five types of diabetes in ICD-10 with fourth characters."""
    return " ".join(f"E{kind}{digit}" for kind in range(10, 15) for digit in fourth)


# Definitions that both indices share.
HEART_FAILURE = {
    "icd9": "39891 40201 40211 40291 40401 40403 40411 40413 40491 40493 4254-4259 428",
    "icd10": "I099 I110 I130 I132 I255 I420 I425-I429 I43 I50 P290",
}
PERIPHERAL = {
    "icd9": "0930 4373 440 441 4431-4439 4471 5571 5579 V434",
    "icd10": "I70 I71 I731 I738 I739 I771 I790 I792 K551 K558 K559 Z958 Z959",
}
PULMONARY = {
    "icd9": "4168 4169 490-505 5064 5081 5088",
    "icd10": "I278 I279 J40-J47 J60-J67 J684 J701 J703",
}
PARALYSIS = {
    "icd9": "3341 342 343 3440-3446 3449",
    "icd10": "G041 G114 G801 G802 G81 G82 G830-G834 G839",
}
METASTASES = {"icd9": "196-199", "icd10": "C77-C80"}
AIDS = {"icd9": "042-044", "icd10": "B20-B22 B24"}
RENAL_ICD9 = "40301 40311 40391 40402 40403 40412 40413 40492 40493"
SOLID_ICD10 = "C00-C26 C30-C34 C37-C41 C43 C45-C58 C60-C76"

CHARLSON_CODES: Definitions = {
    "myocardial_infarction": {"icd9": "410 412", "icd10": "I21 I22 I252"},
    "congestive_heart_failure": HEART_FAILURE,
    "peripheral_vascular_disease": PERIPHERAL,
    "cerebrovascular_disease": {
        "icd9": "36234 430-438",
        "icd10": "G45 G46 H340 I60-I69",
    },
    "dementia": {"icd9": "290 2941 3312", "icd10": "F00-F03 F051 G30 G311"},
    "chronic_pulmonary_disease": PULMONARY,
    "rheumatic_disease": {
        "icd9": "4465 7100-7104 7140-7142 7148 725",
        "icd10": "M05 M06 M315 M32-M34 M351 M353 M360",
    },
    "peptic_ulcer_disease": {"icd9": "531-534", "icd10": "K25-K28"},
    "liver_disease_mild": {
        "icd9": "07022 07023 07032 07033 07044 07054 0706 0709 570 571 5733 5734 5738 "
        "5739 V427",
        "icd10": "B18 K700-K703 K709 K713-K715 K717 K73 K74 K760 K762-K764 K768 K769 "
        "Z944",
    },
    "diabetes": {"icd9": "2500-2503 2508 2509", "icd10": _diabetes("01689")},
    "diabetes_complicated": {"icd9": "2504-2507", "icd10": _diabetes("23457")},
    "paralysis": PARALYSIS,
    "renal_disease": {
        "icd9": f"{RENAL_ICD9} 582 5830-5837 585 586 5880 V420 V451 V56",
        "icd10": "I120 I131 N032-N037 N052-N057 N18 N19 N250 Z490-Z492 Z940 Z992",
    },
    "cancer": {
        "icd9": "140-172 174-195 200-208 2386",
        "icd10": f"{SOLID_ICD10} C81-C85 C88 C90-C97",
    },
    "liver_disease_severe": {
        "icd9": "4560-4562 5722-5728",
        "icd10": "I850 I859 I864 I982 K704 K711 K721 K729 K765-K767",
    },
    "metastatic_cancer": METASTASES,
    "aids": AIDS,
}

CHARLSON_WEIGHTS = {
    "charlson": {
        "myocardial_infarction": 1,
        "congestive_heart_failure": 1,
        "peripheral_vascular_disease": 1,
        "cerebrovascular_disease": 1,
        "dementia": 1,
        "chronic_pulmonary_disease": 1,
        "rheumatic_disease": 1,
        "peptic_ulcer_disease": 1,
        "liver_disease_mild": 1,
        "diabetes": 1,
        "diabetes_complicated": 2,
        "paralysis": 2,
        "renal_disease": 2,
        "cancer": 2,
        "liver_disease_severe": 3,
        "metastatic_cancer": 6,
        "aids": 6,
    },
    "quan": {
        "congestive_heart_failure": 2,
        "dementia": 2,
        "chronic_pulmonary_disease": 1,
        "rheumatic_disease": 1,
        "liver_disease_mild": 2,
        "diabetes_complicated": 1,
        "paralysis": 2,
        "renal_disease": 1,
        "cancer": 2,
        "liver_disease_severe": 4,
        "metastatic_cancer": 6,
        "aids": 4,
    },
}

ELIXHAUSER_CODES: Definitions = {
    "congestive_heart_failure": HEART_FAILURE,
    "cardiac_arrhythmia": {
        "icd9": "4260 42610 42612 42613 4267 4269 4270-4274 4276-4279 7850 99601 99604 "
        "V450 V533",
        "icd10": "I441-I443 I456 I459 I47-I49 R000 R001 R008 T821 Z450 Z950",
    },
    "valvular_disease": {
        "icd9": "0932 394-397 424 7463-7466 V422 V433",
        "icd10": "A520 I05-I08 I091 I098 I34-I39 Q230-Q233 Z952-Z954",
    },
    "pulmonary_circulation_disorder": {
        "icd9": "4150 4151 416 4170 4178 4179",
        "icd10": "I26 I27 I280 I288 I289",
    },
    "peripheral_vascular_disease": PERIPHERAL,
    "hypertension": {"icd9": "401", "icd10": "I10"},
    "hypertension_complicated": {"icd9": "402-405", "icd10": "I11-I13 I15"},
    "paralysis": PARALYSIS,
    "other_neurological_disorder": {
        "icd9": "3319 3320 3321 3334 3335 33392 334 335 3362 340 341 345 3481 3483 "
        "7803 7843",
        "icd10": "G10-G13 G20-G22 G254 G255 G312 G318 G319 G32 G35-G37 G40 G41 G931 "
        "G934 R470 R56",
    },
    "chronic_pulmonary_disease": PULMONARY,
    "diabetes": {"icd9": "2500-2503", "icd10": _diabetes("019")},
    "diabetes_complicated": {"icd9": "2504-2509", "icd10": _diabetes("2345678")},
    "hypothyroidism": {"icd9": "2409 243 244 2461 2468", "icd10": "E00-E03 E890"},
    "renal_failure": {
        "icd9": f"{RENAL_ICD9} 585 586 5880 V420 V451 V56",
        "icd10": "I120 I131 N18 N19 N250 Z490-Z492 Z940 Z992",
    },
    "liver_disease": {
        "icd9": "07022 07023 07032 07033 07044 07054 0706 0709 4560-4562 570 571 "
        "5722-5728 5733 5734 5738 5739 V427",
        "icd10": "B18 I85 I864 I982 K70 K711 K713-K715 K717 K72-K74 K760 K762-K769 "
        "Z944",
    },
    "peptic_ulcer_disease": {
        "icd9": "5317 5319 5327 5329 5337 5339 5347 5349",
        "icd10": "K257 K259 K267 K269 K277 K279 K287 K289",
    },
    "aids": AIDS,
    "lymphoma": {"icd9": "200-202 2030 2386", "icd10": "C81-C85 C88 C96 C900 C902"},
    "metastatic_cancer": METASTASES,
    "solid_tumor": {"icd9": "140-172 174-195", "icd10": f"{SOLID_ICD10} C97"},
    "rheumatic_disease": {
        "icd9": "446 7010 7100-7104 7108 7109 7112 714 7193 720 725 7285 72889 72930",
        "icd10": "L940 L941 L943 M05 M06 M08 M120 M123 M30 M310-M313 M32-M35 M45 M461 "
        "M468 M469",
    },
    "coagulopathy": {"icd9": "286 2871 2873-2875", "icd10": "D65-D68 D691 D693-D696"},
    "obesity": {"icd9": "2780", "icd10": "E66"},
    "weight_loss": {"icd9": "260-263 7832 7994", "icd10": "E40-E46 R634 R64"},
    "fluid_electrolyte_disorder": {"icd9": "2536 276", "icd10": "E222 E86 E87"},
    "blood_loss_anemia": {"icd9": "2800", "icd10": "D500"},
    "deficiency_anemia": {"icd9": "2801-2809 281", "icd10": "D508 D509 D51-D53"},
    "alcohol_abuse": {
        "icd9": "2652 2911-2913 2915-2919 3030 3039 3050 3575 4255 5353 5710-5713 980 "
        "V113",
        "icd10": "F10 E52 G621 I426 K292 K700 K703 K709 T51 Z502 Z714 Z721",
    },
    "drug_abuse": {
        "icd9": "292 304 3052-3059 V6542",
        "icd10": "F11-F16 F18 F19 Z715 Z722",
    },
    "psychosis": {
        "icd9": "2938 295 29604 29614 29644 29654 297 298",
        "icd10": "F20 F22-F25 F28 F29 F302 F312 F315",
    },
    "depression": {
        "icd9": "2962 2963 2965 3004 309 311",
        "icd10": "F204 F313-F315 F32 F33 F341 F412 F432",
    },
}

ELIXHAUSER_WEIGHTS = {
    "van_walraven": {
        "congestive_heart_failure": 7,
        "cardiac_arrhythmia": 5,
        "valvular_disease": -1,
        "pulmonary_circulation_disorder": 4,
        "peripheral_vascular_disease": 2,
        "paralysis": 7,
        "other_neurological_disorder": 6,
        "chronic_pulmonary_disease": 3,
        "renal_failure": 5,
        "liver_disease": 11,
        "lymphoma": 9,
        "metastatic_cancer": 12,
        "solid_tumor": 4,
        "coagulopathy": 3,
        "obesity": -4,
        "weight_loss": 6,
        "fluid_electrolyte_disorder": 5,
        "blood_loss_anemia": -2,
        "deficiency_anemia": -2,
        "drug_abuse": -7,
        "depression": -3,
    }
}
